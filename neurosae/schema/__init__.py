"""The data model: dim names, recordings, responses, results, provenance and units of inference."""
