"""Who owns which block of the KV cache. Bookkeeping only; the tensors are in `kv_cache`."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable


class BlockManager:
    """Reference-counted blocks. A block table is a list of block ids in the order of the positions they hold.

    Paths share the blocks of their prompt: `fork` counts them once more, and who writes into a shared block
    first gets a copy of its own (`needs`, `extend`).
    """

    def __init__(self, blocks: int, block_size: int) -> None:
        self.blocks = blocks
        self.block_size = block_size
        self._free = deque(range(blocks))
        self._references = [0] * blocks

    @property
    def free(self) -> int:
        return len(self._free)

    @property
    def used(self) -> int:
        return self.blocks - len(self._free)

    def blocks_for(self, tokens: int) -> int:
        return -(-tokens // self.block_size)

    def references(self, block: int) -> int:
        return self._references[block]

    def needs(self, table: list[int], start: int, end: int) -> int:
        """How many new blocks it takes to write positions [start, end) into `table`."""
        return max(0, self.blocks_for(end) - len(table)) + self._must_copy(table, start)

    def extend(self, table: list[int], start: int, end: int) -> tuple[int, int] | None:
        """Make positions [start, end) writable. Returns (source, copy) when a shared block must be copied."""
        copy = None
        if self._must_copy(table, start):
            at = start // self.block_size
            copy = (table[at], self._allocate())
            self._release(table[at])
            table[at] = copy[1]
        while len(table) * self.block_size < end:
            table.append(self._allocate())
        return copy

    def fork(self, table: list[int]) -> list[int]:
        for block in table:
            self._references[block] += 1
        return list(table)

    def trim(self, table: list[int], tokens: int) -> None:
        """Give back the blocks behind the first `tokens` positions."""
        while len(table) > self.blocks_for(tokens):
            self._release(table.pop())

    def free_table(self, table: list[int]) -> None:
        for block in table:
            self._release(block)
        table.clear()

    def check(self, tables: Iterable[list[int]]) -> None:
        """Raise AssertionError unless the reference counts are exactly what `tables` hold."""
        counted = [0] * self.blocks
        for table in tables:
            for block in table:
                counted[block] += 1
        assert counted == self._references, "block reference counts differ from the tables that hold them"
        assert sorted(self._free) == [b for b, n in enumerate(counted) if n == 0], (
            "the free list is not what is free"
        )

    def _must_copy(self, table: list[int], start: int) -> bool:
        at = start // self.block_size
        return start % self.block_size != 0 and at < len(table) and self._references[table[at]] > 1

    def _allocate(self) -> int:
        block = self._free.popleft()
        self._references[block] = 1
        return block

    def _release(self, block: int) -> None:
        self._references[block] -= 1
        if self._references[block] == 0:
            self._free.appendleft(block)  # used next: it is warm, and untouched memory stays untouched
