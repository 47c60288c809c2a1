"""Reports: their content (``content``), and its form in HTML, Markdown and LaTeX."""
