from controllable_inference.core.baselines import MajorityVote
from controllable_inference.core.request import SamplingParams

PROMPT = "1+2+3+4+5+6+7+8+9+" * 3  # 54 tokens: three full blocks and 6 tokens of a fourth


def test_paths_share_the_prompts_blocks_until_they_write(stepped):
    engine = stepped(MajorityVote(8, 40))
    engine.submit(PROMPT, SamplingParams(seed=1))
    engine.step()  # the prompt is computed, and every path has its first token
    blocks = engine.core.scheduler.blocks
    group = engine.core.groups[0]
    assert len(group.running_paths) == 8
    assert blocks.used == 4
    assert [blocks.references(block) for block in group.prompt_table] == [9, 9, 9, 9]

    engine.step()  # each path writes behind the prompt, into a copy of the last, partial block
    assert blocks.used == 4 + 8
    assert [blocks.references(block) for block in group.prompt_table] == [9, 9, 9, 1]
    assert len({path.table[3] for path in group.running_paths}) == 8


def test_a_prompt_that_fills_its_blocks_is_never_copied(stepped):
    engine = stepped(MajorityVote(8, 40))
    engine.submit(PROMPT[:48], SamplingParams(seed=1))
    engine.step()
    assert engine.core.scheduler.blocks.used == 3
    engine.step()
    assert engine.core.scheduler.blocks.used == 3 + 8


def test_a_pruned_paths_blocks_are_free_in_the_same_step(stepped):
    from controllable_inference.core.views import Prune

    class KeepOne(MajorityVote):
        def decide(self, request):
            return [Prune(p.index) for p in request.running[1:]]

    engine = stepped(KeepOne(16, 60))
    request = engine.submit(PROMPT, SamplingParams(seed=4))
    blocks = engine.core.scheduler.blocks
    while "path_pruned" not in request.kinds:
        before = blocks.used
        engine.step()
    gone = request.kinds.count("path_pruned")
    assert gone > 10
    assert before - blocks.used >= gone - 1  # the survivor may have taken a new block meanwhile


def test_fast_mode_continues_the_prompt_it_has_computed(stepped, tokenizer):
    from controllable_inference.core.allocation import BudgetRule
    from controllable_inference.core.controller import GatedController, confidence_rank
    from controllable_inference.core.request import RequestBudget

    engine = stepped(GatedController(BudgetRule(4, 30, 4), confidence_rank))
    messages = [{"role": "user", "content": "1+2="}]
    fast = engine.submit(messages, SamplingParams(temperature=0), RequestBudget(effort="none"))
    engine.run()
    same = engine.submit("1+2=</think>", SamplingParams(temperature=0))
    engine.run()
    assert fast.texts[0][:15] == same.texts[0][:15]  # the caps differ
    usage = fast.result.usage
    assert (usage.prompt_tokens, usage.reasoning_tokens, usage.paths_started) == (5, 0, 1)
