import pytest

from lmlab.commands.generate import CONTEXT, TextStream
from lmlab.data.tokenizers import BPE, Byte, Character, Symbols, Word, encode_prompt, unknown_parts
from lmlab.errors import UserError

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


def test_what_a_vocabulary_lacks_is_counted_and_the_first_of_it_named():
    characters, words, pieces = Character(), Word(), BPE(290)
    for tokenizer in (characters, words, pieces):
        tokenizer.fit([TEXT])
    assert unknown_parts(characters, "the cät çat, ça", "prompt") == (
        "prompt: 2 characters outside the vocabulary, read as '\\n': 'ç'"
    )
    assert unknown_parts(words, "the zorkmid cat", "prompt") == (
        "prompt: 1 word outside the vocabulary, read as '<unk>': 'zorkmid'"
    )
    many = unknown_parts(words, "a b c d e f g", "prompt")
    assert many.startswith("prompt: 6 words outside the vocabulary") and many.endswith("'b', 'c', 'd', 'e', 'f', ...")
    for tokenizer in (characters, words, pieces, Byte()):
        assert unknown_parts(tokenizer, "the cat\n", "prompt") == ""
    assert unknown_parts(pieces, "漢字", "prompt") == ""


def test_a_prompt_that_is_no_text_of_the_tokenizer_s_is_refused_by_the_name_of_its_option():
    for tokenizer, prompt in ((Byte(), "\udcff"), (Symbols(4), "1 2 9")):
        with pytest.raises(UserError, match=r"^callbacks\.samples\.prompt: "):
            encode_prompt(tokenizer, prompt, "callbacks.samples.prompt")


def test_a_prompt_of_words_goes_on_in_its_line():
    tokenizer = Word()
    tokenizer.fit([TEXT])
    prompt = tokenizer.encode_prompt("the cat")
    assert tokenizer.separator not in prompt
    assert TextStream(tokenizer, prompt).add(int(tokenizer.encode_prompt("sät")[0])) == " sät"
    assert tokenizer.encode_prompt("the cat\n")[-1] == tokenizer.separator
