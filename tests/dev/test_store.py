"""What stays in a node's store of images."""

from dev.cluster.images.store import Store

LISTING = """\
REF                   TYPE  DIGEST  SIZE
localhost/app:old     t     d-old   1
localhost/app:new     t     d-new   1
localhost/app:same    t     d-new   1
localhost/other:1     t     d-oth   1
sha256:identity-old   t     d-old   1
sha256:identity-new   t     d-new   1
"""


class Recording(Store):
    def __init__(self):
        self.commands = []

    def _run(self, *arguments):
        self.commands.append(arguments)
        return LISTING if arguments[:2] == ("images", "list") else ""


def removed(outdated):
    store = Recording()
    store.remove(outdated)
    return set(store.commands[1][3:]) if len(store.commands) > 1 else set()


def test_an_outdated_image_goes_under_all_its_names():
    assert removed(lambda ref: ref.endswith(":old")) == {"localhost/app:old", "sha256:identity-old"}


def test_an_image_that_another_name_still_wants_stays():
    assert removed(lambda ref: ref.endswith(":same")) == set()


def test_nothing_outdated_nothing_removed():
    assert removed(lambda ref: False) == set()
