"""An obvious model of what a hub should do, and histories that compare the two.

* `calls`: invitations (SPEC §3), as the machine has them;
* `groups`, `group_acts`: groups, their rules and callbacks (SPEC §8);
* `model`, `parameters`: the whole hub: requests, who hears what, logins (SPEC §2 to §7);
* `source`, `acts`: operations as plain data, drawn from a seed, from bytes, or by hypothesis;
* `hub_run`, `machine_run`: one history, done to the real thing and to the model;
* `hub_history`: a history of a hub, drawn and done, or done again;
* `crashing`, `crash_acts`, `crash_model`, `lives`: a hub with a journal that is left behind in the
  middle of operations, and begun anew;
* `ear`: writes down what a session hears; `failure`: what of a failed history is to blame;
* `watchers`: what must hold whatever the model says;
* `bulk`: many histories in several processes: `make histories N=1000000`, and with `OVER=crashes`
  of hubs that have a journal in every history.
"""
