//! Storage in the JSON files of the Python node.
