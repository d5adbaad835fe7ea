from qmoe_fed.launch.superlink import plain, visible

LOG = """\
Using SuperLink: own (127.0.0.1:40000)
Successfully started run 123
INFO :      Starting Flower Simulation
WARNING :   Since flwr 1.32, default simulated SuperNodes changed from 10 to 2.
(ClientAppActor pid=5) WARNING :   Manually terminating ClientAppActor
INFO about the app, by the app
round 1/3
WARNING :   something is odd
(ClientAppActor pid=5) INFO :      nothing new
(ClientAppActor pid=5) a client speaks
ERROR :     a client failed
Traceback (most recent call last):
ValueError: bad
round 2/3
""".splitlines()
DEATH = """\
ERROR :     Simulation raised an exception
Traceback (most recent call last):
  File "server_app.py", line 1, in main
qmoe_fed.errors.UserError: take another number
ERROR :     Exit Code: 700
""".splitlines()


def never() -> bool:
    return False


def test_the_user_sees_what_the_app_says_and_what_goes_wrong() -> None:
    seen = list(visible(LOG, verbose=False, refused=never))
    assert seen == [LOG[5], LOG[6], LOG[7], *LOG[9:]]
    assert list(visible(LOG, verbose=True, refused=never)) == LOG


def test_user_errors_come_without_traceback() -> None:
    log = [LOG[6], *DEATH]
    assert list(visible(log, verbose=False, refused=lambda: True)) == [LOG[6]]
    assert list(visible(log, verbose=True, refused=lambda: True)) == log


def test_other_deaths_are_shown_in_full() -> None:
    log = [LOG[6], *DEATH]
    assert list(visible(log, verbose=False, refused=never)) == log


def test_colours_are_removed() -> None:
    assert plain("\x1b[92mINFO \x1b[0m:      \x1b[1;31mé\x1b[0m\n") == "INFO :      é"
