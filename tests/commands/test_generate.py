import pytest

from lmlab.commands.generate import CONTEXT, TextStream
from lmlab.data.tokenizers import BPE, Byte, Character, Word

TEXT = "the cat sät on a mat\nand saw two birds, über every tree\n" * 4


@pytest.mark.parametrize("kind", [Byte, Character, Word, lambda: BPE(290)])
def test_prompt_and_stream_give_the_text_of_all_tokens(kind):
    tokenizer = kind()
    tokenizer.fit([TEXT])
    ids = tokenizer.encode(TEXT)
    assert len(ids) > 2 * CONTEXT
    for cut in (0, 1, 5, len(ids) - 1):
        stream = TextStream(tokenizer, ids[:cut])
        streamed = "".join(stream.add(int(token)) for token in ids[cut:]) + stream.rest()
        assert tokenizer.decode(ids[:cut]) + streamed == tokenizer.decode(ids)


def test_a_prompt_of_words_goes_on_in_its_line():
    tokenizer = Word()
    tokenizer.fit([TEXT])
    prompt = tokenizer.encode_prompt("the cat")
    assert tokenizer.separator not in prompt
    assert TextStream(tokenizer, prompt).add(int(tokenizer.encode_prompt("sät")[0])) == " sät"
    assert tokenizer.encode_prompt("the cat\n")[-1] == tokenizer.separator
