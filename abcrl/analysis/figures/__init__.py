"""Every figure: a module each, on one look. Import them by name, they alone pay for matplotlib."""
