"""What happens in a search or a training, told to whoever watches: a dict with a `kind` and its facts.

kind         facts                                        told by
stage        name, done (0 to 1)                          the building of a task
opened       done (trials by ending), best                a search
confirming   remaining (runs to come), done (by ending)    a search that begins its confirmation
timing       places                                       a worker about to time a pack
pack         places, speedup (trials per second, to one)  a worker that timed packs
compiling                                                a worker about to compile its learning pass
compiled     speedup, kept, failure                       a worker that compiled it
started      number, params, label                           a trial
progress     number, episodes                             a trial, after each iteration
milestone    number, episodes, score                      a trial
ended        number, ending, reason, value, feasible      a trial
stopping                                                 a search that was asked to stop
lost         number, reason                               a search whose worker died
evaluation   episodes, heldout/...                        a full training
found        text                                         a study or training file, of a path beside it
measured     pack, seconds_per_trial, worker_bytes, ...     a worker that was measured for `check`
note         text                                         what the user should know of a model or a logger
iteration    episodes, objective/..., policy/...          a full training
"""

from collections.abc import Callable, Mapping
from typing import Any

Event = Mapping[str, Any]
Watcher = Callable[[Event], None]

VERBOSE = "PPO_TUNE_VERBOSE"
"""A variable of the environment: where it is set, workers show what is logged, as `--verbose` does."""

LOG_FORMAT = "%(levelname)s %(name)s: %(message)s"
