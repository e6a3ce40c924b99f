//! Storage in the SQLite database of the Python node.
