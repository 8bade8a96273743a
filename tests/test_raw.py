"""What samples are without any network."""

import numpy as np
from sklearn.linear_model import LogisticRegression

from selfray.evaluation import raw

FACTS = {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4, "vocabulary": 600}


def rows(count, topic, random):
    """Rows of which a tenth of the words is of a topic and the rest of none."""
    words = random.integers(200, 600, (count, 40))
    of_topic = random.integers(10 + 40 * topic, 50 + 40 * topic, (count, 40))
    tokens = np.where(random.random((count, 40)) < 0.1, of_topic, words)
    tokens[:, 0] = FACTS["cls"]
    tokens[:, 30:] = FACTS["pad"]
    return tokens.astype(np.uint16)


def corpus(count, seed):
    random = np.random.default_rng(seed)
    return np.concatenate([rows(count, topic, random) for topic in range(3)]), np.repeat(np.arange(3), count)


def test_topics_of_text_can_be_told_from_tf_idf():
    (train, labels), (test, expected) = corpus(300, 0), corpus(100, 1)
    fit, seen = raw.vectors("text", train, test, FACTS)
    assert fit.shape == (900, 256)
    assert fit.dtype == np.float32
    assert LogisticRegression(max_iter=300, C=10).fit(fit, labels).score(seen, expected) > 0.8


def test_the_test_split_has_no_part_in_what_is_fitted():
    (train, _), (test, _) = corpus(50, 0), corpus(50, 1)
    alone, _ = raw.vectors("text", train, test[:5], FACTS)
    together, _ = raw.vectors("text", train, test, FACTS)
    np.testing.assert_array_equal(alone, together)


def test_padding_and_special_tokens_say_nothing():
    train, _ = corpus(20, 0)
    more = train.copy()
    more[:, 30] = FACTS["sep"]
    first, second = (raw.vectors("text", one, train, FACTS)[0] for one in (train, more))
    np.testing.assert_array_equal(first, second)
