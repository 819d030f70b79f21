"""How Sphinx builds the site. Nothing of it is loaded from another host."""

from docs.site import docstrings

project = "jaxgen"
html_title = "jaxgen"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.githubpages"]
html_theme = "pydata_sphinx_theme"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "jaxgen"},
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": [],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "show_prev_next": False,
    "back_to_top_button": False,
}
html_sidebars = {"index": [], "ledger": [], "claims": []}

myst_heading_anchors = 4  # as git hosts name them: a wrong anchor is a warning, and a warning fails the build
suppress_warnings = ["myst.header"]  # a guide may leave out a level

default_role = "literal"  # docstrings have Markdown's single backticks
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
add_module_names = False


def setup(app):  # noqa: D103
    docstrings.connect(app)
    # Recorded figures and tables lie beside the pages.
    app.connect("config-inited", lambda app, config: config.html_static_path.append(str(app.srcdir / "static")))
