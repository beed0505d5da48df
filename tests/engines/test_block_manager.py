from controllable_inference.engines.native.block_manager import BlockManager
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule


def test_a_table_grows_by_whole_blocks():
    blocks, table = BlockManager(8, 4), []
    assert blocks.needs(table, 0, 5) == 2
    blocks.extend(table, 0, 5)
    assert (len(table), blocks.used, blocks.needs(table, 5, 8)) == (2, 2, 0)


def test_forked_tables_share_every_block():
    blocks, table = BlockManager(8, 4), []
    blocks.extend(table, 0, 6)
    forks = [blocks.fork(table) for _ in range(5)]
    assert blocks.used == 2
    for fork in forks:
        blocks.free_table(fork)
    assert blocks.used == 2


def test_writing_into_a_shared_last_block_copies_it_once():
    blocks, table = BlockManager(8, 4), []
    blocks.extend(table, 0, 6)
    fork = blocks.fork(table)
    assert blocks.needs(fork, 6, 7) == 1
    copy = blocks.extend(fork, 6, 7)
    assert copy == (table[1], fork[1])
    assert table[0] == fork[0]
    assert table[1] != fork[1]
    assert blocks.extend(fork, 7, 8) is None


def test_a_full_last_block_is_shared_on_and_nothing_is_copied():
    blocks, table = BlockManager(8, 4), []
    blocks.extend(table, 0, 8)
    fork = blocks.fork(table)
    assert blocks.extend(fork, 8, 9) is None
    assert fork[:2] == table


def test_trimming_gives_back_what_lies_behind():
    blocks, table = BlockManager(8, 4), []
    blocks.extend(table, 0, 16)
    blocks.trim(table, 5)
    assert (len(table), blocks.free) == (2, 6)


class Tables(RuleBasedStateMachine):
    """Any order of growing, forking, trimming and freeing keeps the books straight."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = BlockManager(24, 4)
        self.tables: list[tuple[list[int], int]] = []

    def _grow(self, at: int, tokens: int) -> None:
        table, length = self.tables[at]
        needed, free = self.blocks.needs(table, length, length + tokens), self.blocks.free
        if needed <= free:
            self.blocks.extend(table, length, length + tokens)
            assert free - self.blocks.free == needed
            self.tables[at] = (table, length + tokens)
            written = table[length // 4 : self.blocks.blocks_for(length + tokens)]
            assert all(self.blocks.references(block) == 1 for block in written)

    @rule(tokens=st.integers(1, 9))
    def start(self, tokens: int) -> None:
        self.tables.append(([], 0))
        self._grow(-1, tokens)

    @precondition(lambda self: self.tables)
    @rule(data=st.data(), tokens=st.integers(1, 6))
    def grow(self, data: st.DataObject, tokens: int) -> None:
        self._grow(data.draw(st.integers(0, len(self.tables) - 1)), tokens)

    @precondition(lambda self: self.tables)
    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        table, length = data.draw(st.sampled_from(self.tables))
        self.tables.append((self.blocks.fork(table), length))

    @precondition(lambda self: self.tables)
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        table, _ = self.tables.pop(data.draw(st.integers(0, len(self.tables) - 1)))
        self.blocks.free_table(table)

    @invariant()
    def the_books_are_straight(self) -> None:
        self.blocks.check(table for table, _ in self.tables)


TestTables = Tables.TestCase
TestTables.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
