"""Reports: what they say (``content``), and how it looks in HTML, Markdown and LaTeX."""
