"""The steps of a pipeline, each a pure, row-local function from RecordBatch to RecordBatch."""
