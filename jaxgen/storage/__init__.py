"""Files that are whole or not there, object stores, and links that lead nowhere."""
