"""A mission before it flies: time passes, and the code that flies decides what comes down."""
