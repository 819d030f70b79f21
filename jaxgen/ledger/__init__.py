"""From an ID to verdicts: papers found, runs trained, read, judged and recorded."""
