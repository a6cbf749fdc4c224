"""`make demo`: the connector between both sandboxes, with people at work on both sides, and a check of what arrived."""
