"""What a `MultitaskModel` is made of, as it stands in a run's YAML and in a saved model's folder."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from neuraltuning.configuration import Settings

DType = Literal["auto", "float32", "bfloat16", "float16"]


def _own_decoders() -> dict[str, dict[str, Any]]:
    return {"mask": {}, "image": {}}


class TunerSettings(Settings):
    """Which method tunes the LLM, and the settings of each method that may be chosen."""

    method: str = Field("neural_tuning", description="neural_tuning, lora, or another of neuraltuning.tuners.METHODS")
    settings: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="method -> its configuration's fields; only the chosen method's are used"
    )


class StateSettings(Settings):
    """Which hidden states of a task token its decoder gets; the papers' literal wiring is [[token, -1]]."""

    size: int = Field(128, ge=1, description="entries of the state beside the words")
    words: int = Field(
        0, ge=0, description="words of the text before the token that the state opens with (see neuraltuning.bridge)"
    )
    sources: list[tuple[Literal["predicting", "token"], int]] = Field(
        default=[("token", -1)],
        min_length=1,
        description="(position, layer): at the position that predicts the token, or at the token; layer 0 is the "
        "embedding, -1 the last layer",
    )


class NameSettings(Settings):
    """The descriptions that follow an image's patch tokens (see neuraltuning.naming)."""

    slots: int = Field(0, ge=0, description="positions that spell what the patches show, and where; 0: none")
    vocabulary: int = Field(256, ge=2, description="names that can be learned, and the background")


class ModelSettings(Settings):
    """Everything that determines a model's shape."""

    llm: str = Field("smollm2-135m", description="the embedded LLM, a folder, a Hugging Face id or a GGUF file")
    encoder: str = Field("efficientnet-lite0", description="the embedded encoder[-SIDE], a folder or a Hugging Face id")
    dtype: DType = Field("auto", description="of the frozen parts; auto: bfloat16 where the processor computes in it")
    template: str = Field(
        "Question: {prompt}\nAnswer:", description="what stands around the user's text; the reply follows"
    )
    projector_size: int = Field(1024, ge=1, description="hidden width of the projector")
    pooling: int = Field(1, ge=1, description="patches a side that share a position of the LLM: 2 makes 7x7 to 4x4")
    names: NameSettings = Field(default_factory=NameSettings)
    tuner: TunerSettings = Field(default_factory=TunerSettings)
    state: StateSettings = Field(default_factory=StateSettings)
    decoders: dict[str, dict[str, Any]] = Field(
        default_factory=_own_decoders, description="decoder's name -> its settings"
    )

    @field_validator("template")
    @classmethod
    def _has_prompt(cls, value: str) -> str:
        if value.count("{prompt}") != 1 or value.endswith("{prompt}"):
            raise ValueError("must contain {prompt} exactly once, and behind it what the reply follows")
        return value
