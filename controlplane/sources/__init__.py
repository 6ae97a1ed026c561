"""Where objects come from: `files.FileSource` (a directory), `memory.MemorySource` (the API)."""
