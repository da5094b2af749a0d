"""The streaming engine: one frame in, one result out, whichever models and tracker are in use."""
