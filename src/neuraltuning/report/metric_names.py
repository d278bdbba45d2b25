"""What the report calls each score, how it writes it, and what it says it means."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MetricName:
    """How a score is shown.

    Attributes:
        label: short name, as in the literature.
        meaning: one sentence for readers who don't know it; empty where the label says it all.
        percent: a share of 1 that is shown in per cent.
        yes_or_no: of one item it is either 0 or 1.
    """

    label: str
    meaning: str = ""
    percent: bool = True
    yes_or_no: bool = False

    def format(self, value: float) -> str:
        """The value as the report writes it: "54.2 %", "0.871", "17.3"."""
        if self.percent:
            return f"{100.0 * value:.1f}\u202f%"
        return f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"

    def format_item(self, value: float) -> str:
        """The value of one item alone: "IoU 0.82", "found among 16: yes"."""
        if self.yes_or_no:
            return f"{self.label}: {'yes' if value else 'no'}"
        return f"{self.label} {value:.2f}"

    def format_interval(self, interval: list[float]) -> str:
        """A 95 % interval without its unit: "51.0-57.3"."""
        scale, digits = (100.0, 1) if self.percent else (1.0, 1 if abs(interval[1]) >= 10 else 3)
        low, high = (f"{scale * bound:.{digits}f}" for bound in interval)
        return f"{low}\u2009\u2013\u2009{high}"


HEADLINES = ("oiou", "accuracy", "object_f1", "among_16", "prec@0.5", "max_f_beta", "cider", "giou", "mae")
"""The score that stands for a task: the first of these that the task has."""

_NAMES = {
    "oiou": MetricName(
        "oIoU",
        "All pixels that masks and targets share, divided by all pixels that either covers, over the whole split "
        "(also called cIoU). Large objects weigh more. A missing mask counts as all wrong, a surplus one as well.",
    ),
    "miou": MetricName("mIoU", "Mean over masks of shared pixels / covered pixels; every object weighs the same."),
    "giou": MetricName("gIoU", "Mean over replies of the IoU of all their masks together; empty on empty counts 1."),
    "mask_count_accuracy": MetricName("right number of masks", "Share of replies with as many masks as objects."),
    "n_acc": MetricName("N-acc", "Share of requests for nothing that were left empty."),
    "matched_oiou": MetricName(
        "oIoU, any order", "As oIoU, with the masks of a reply paired with its targets regardless of their order."
    ),
    "matched_miou": MetricName("mIoU, any order", "As mIoU, with masks and targets paired regardless of their order."),
    "united_oiou": MetricName(
        "oIoU of united masks", "As oIoU, with the masks of a reply and its targets united first: GRES's cIoU."
    ),
    "t_acc": MetricName("T-acc", "Share of requests for something that were not left empty."),
    "accuracy": MetricName(
        "accuracy",
        "Share of right answers after VQAv2's normalization of spelling and number words; with ten annotators, "
        "agreement with at least three others counts as right (official variant).",
    ),
    "accuracy_always_normalise": MetricName(
        "accuracy, always normalized", "The same, normalized also where all annotators agree."
    ),
    "object_f1": MetricName(
        "object-name F1",
        "Do captions name the objects that are there and no others? Harmonic mean of precision and recall, over all "
        "captions together; singular and plural both count.",
    ),
    "object_precision": MetricName("object-name precision", "Share of the named objects that are there."),
    "object_recall": MetricName("object-name recall", "Share of the objects there that are named."),
    "bleu1": MetricName("BLEU-1"),
    "bleu2": MetricName("BLEU-2"),
    "bleu3": MetricName("BLEU-3"),
    "bleu4": MetricName("BLEU-4", "Share of word sequences (up to four words) that a reference has, too."),
    "meteor": MetricName("METEOR", "Word matches with a reference, stems and synonyms included, in its order."),
    "rouge_l": MetricName("ROUGE-L", "The longest common subsequence of words with a reference."),
    "cider": MetricName(
        "CIDEr-D",
        "Agreement with the references on telling word sequences, 0 to 10; on a set with few images its values are "
        "high and not comparable between sets.",
        percent=False,
    ),
    "among_16": MetricName(
        "found among 16",
        "Share of drawn pictures to which, of 16 candidate pictures, their own target is nearest in a frozen "
        "encoder's features; guessing finds 1 in 16.",
        yes_or_no=True,
    ),
    "among_16_chance": MetricName("guessing among 16"),
    "drawn": MetricName("pictures drawn", "Share of replies that came with a picture.", yes_or_no=True),
    "box_miou": MetricName("box mIoU", "Mean IoU of the boxes."),
    "mae": MetricName("mean absolute error", percent=False),
    "pearson": MetricName("Pearson's r", percent=False),
    "acc7": MetricName("Acc-7", "Share of labels that are right after rounding to -3 ... 3."),
    "acc2_has0": MetricName("Acc-2 (has0)", "Not negative against negative, all items."),
    "acc2_non0": MetricName("Acc-2 (non0)", "Positive against the rest, items whose true label is 0 left out."),
    "f1_has0": MetricName("F1 (has0)", "Weighted F1: not negative against negative, all items."),
    "f1_non0": MetricName("F1 (non0)", "Weighted F1: positive against the rest, true zeros left out."),
    "max_f_beta": MetricName("max F-beta", "The best F (beta\u00b2 = 0.3) over thresholds of a soft mask."),
    "pixel_accuracy": MetricName("pixel accuracy"),
    "ciou": MetricName("cIoU", "Sum of intersections / sum of unions at threshold 0.5."),
    "iou": MetricName("IoU"),
    "n": MetricName("items", percent=False),
    "n_masks": MetricName("masks", percent=False),
    "n_drawn": MetricName("pictures", percent=False),
}

COUNTS = ("n", "n_masks", "n_drawn")
"""Keys that count items."""


def metric_name(key: str) -> MetricName:
    """The name of the score that metrics.json has under `key`; the key itself for one nobody described."""
    if key in _NAMES:
        return _NAMES[key]
    if key.startswith("prec@"):
        return MetricName(f"Prec@{key[5:]}", f"Share of masks with an IoU of at least {key[5:]}.")
    network = key.partition("_")[2]
    if key.startswith("fid_"):
        meaning = (
            f"Distance between the drawn and the real pictures' {network} features; biased upwards on few pictures."
        )
        return MetricName(f"FID ({network})", meaning, percent=False)
    if key.startswith("kid_"):
        meaning = f"The like of FID without its bias on few pictures, on {network} features; may fall below 0."
        return MetricName(f"KID ({network})", meaning, percent=False)
    if key.startswith("is_"):
        return MetricName(f"IS ({network})", percent=False)
    return MetricName(key.replace("_", " "), percent=False)


_BASELINES = {
    "all_objects": ("every object masked", "Every object of the image is masked, whatever was asked."),
    "blank_image": ("blank image", "The same model, shown a blank image: what the words alone give away."),
    "untuned": ("untuned model", "The language model before tuning, with the same untrained parts around it."),
    "chance": ("guessing", "One of the candidates at random."),
    "teacher_forced": (
        "teacher-forced",
        "The right reply is fed to the model, which only fills in what its task tokens stand for: what several "
        "published codes report. It hides forgotten and surplus objects, so it stands beside the score, never for it.",
    ),
}


def baseline_label(key: str) -> str:
    """The name of a baseline, for charts."""
    return _BASELINES[key][0] if key in _BASELINES else key.replace("_", " ")


def baseline_meaning(key: str) -> str:
    """One sentence on what a baseline is; empty for one nobody described."""
    return _BASELINES[key][1] if key in _BASELINES else ""


def title(name: str) -> str:
    """A name from a file as words: "referring_segmentation" -> "Referring segmentation"."""
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]
