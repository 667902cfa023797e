"""Groups: who belongs together, who may change it, and who hears of it (SPEC §8).

A deterministic state machine beside the one of invitations, in plain Python:

* `rules`: the types of groups and what each lets whom do, as a table;
* `state`: the groups and their members, and applying a record to them;
* `records`: the decision about a change, as a journal keeps it;
* `decisions`: judging a change: the same state, and methods that return a record or refuse;
* `callbacks`: what members hear of a record, and `GroupListener`;
* `operations`: what sessions and the embedding server call.
"""
