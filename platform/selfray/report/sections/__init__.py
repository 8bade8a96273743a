"""The sections of the page: for each a module that gathers its content from a run and a template that shows it."""
