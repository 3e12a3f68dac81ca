"""The stages of a run: how long each is, and what it updates with which losses."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from train.config.section import Fraction, Section


class OptimizerConfig(Section):
    """Adam; one optimizer for each subnetwork."""

    learning_rate: float = Field(default=1e-4, gt=0)
    encoder_learning_rate: float | None = Field(default=None, gt=0)
    """Of the encoder, where it is not that of heads, heatmap path and decoder: a trained encoder moves slowly
    while a new decoder learns fast."""
    weight_decay: float = Field(default=1e-4, ge=0)
    decoupled: bool = False
    """Decay the weights apart from the gradient: AdamW, arXiv:1711.05101."""
    schedule: Literal["constant", "cosine", "one_cycle"] = "constant"
    """Learning rate over a stage: cosine falls to 1 % of it, epoch by epoch; one_cycle rises over the first
    tenth of the iterations and falls to zero."""
    gradient_norm: float | None = Field(default=None, gt=0)
    """Largest norm of an update's gradient; longer ones are scaled to it. None for no limit."""


class AdversarialConfig(Section):
    """Virtual adversarial training, added to f_Res."""

    batch: int = Field(default=16, ge=1)
    """Images of Dataset B in an update."""
    weight: float = Field(default=1.0, ge=0)
    """Of the virtual adversarial loss beside the BCE."""
    epsilon: float = Field(default=2.0, gt=0)
    """L2 norm of the perturbation, in normalised pixels."""
    xi: float = Field(default=1e-2, gt=0)
    """Step of the finite difference that looks for its direction."""
    power_iterations: int = Field(default=1, ge=1)
    """Steps of the power iteration; Miyato et al. need one."""


class StageConfig(Section):
    """One stage of training: how long, and which of the three updates an iteration makes."""

    start: str | None = None
    """Earlier pretraining stage whose weights this one begins with, `pretrain-1` the first; None for the one
    before. Of pretraining stages only."""
    epochs: int = Field(ge=0)
    iterations: int = Field(ge=1)
    """Iterations in an epoch; checkpoint and validation follow each epoch."""
    contrastive_batch: int = Field(default=24, ge=0)
    """Images of an f_CLR update; 0 leaves f_CLR out."""
    classification_batch: int = Field(default=16, ge=0)
    """Images of an f_Res update; 0 leaves f_Res out."""
    segmentation_batch: int = Field(default=8, ge=0)
    """Images of an f_Seg update; 0 leaves f_Seg out."""
    segmentation_repeats: int = Field(default=1, ge=1)
    """f_Seg updates in an iteration."""
    segmentation_filled: Fraction = 0.5
    """Part of an f_Seg update's images that have the indicator, as far as such images exist; the others are
    drawn from all that have a mask of it, filled or empty."""
    segmentation_images: int | None = Field(default=None, ge=1)
    """Images with an indicator that f_Seg learns it from, and half as many of all that have a mask of it,
    filled or empty; None for all."""
    segmentation_views: int = Field(default=1, ge=1)
    """Views of each of these images that f_Seg learns from, the image itself and then augmented ones, as long
    as there are no more than `segmentation_images` in all: few images show little of an indicator."""
    dice: Literal["squared", "linear"] = "squared"
    """Denominator of the soft dice: with squares, as in the paper, or the sums themselves."""
    segmentation_cross_entropy: float = Field(default=0.0, ge=0)
    """Weight of the pixels' cross entropy beside the soft dice."""
    image_size_px: int | None = Field(default=None, ge=64, multiple_of=32)
    """Height and width that f_CLR and f_Res see; None for the model's."""
    augment: Literal["none", "mild", "strong"] = "none"
    """Rotate, flip, scale and recolour the images of f_Res; turn and flip the heatmaps of f_Seg. The paper
    does not."""
    balance: Fraction = 0.0
    """Draw images with rare findings more often: by (negatives / positives) to this power, of their rarest
    finding."""
    weights: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """How often images of these sources are drawn for f_Res in this stage, in place of `data`'s weights."""
    averaging: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay of the exponential moving average of the weights, which is what is validated and kept; None for
    the weights themselves."""
    mask_supervision: float = Field(default=0.0, ge=0)
    """Weight, beside f_Res's BCE, of the loss of masks that the classification head gives place by place; 0
    for none. It teaches an encoder where things are, and needs the model's `skip_features`."""
    frozen_blocks: int = Field(default=0, ge=0)
    """First blocks of the encoder, with its stem, that stay as they are, batch norm included."""
    adversarial: AdversarialConfig | None = None
    """Virtual adversarial loss in the f_Res update; none in Bio-U-Net."""
    patience: int | None = Field(default=None, ge=1)
    """Epochs without a better validation score after which the stage ends; None trains all epochs."""
    optimizer: OptimizerConfig = OptimizerConfig()

    @model_validator(mode="after")
    def _check(self) -> "StageConfig":
        if self.contrastive_batch == 1:
            raise ValueError("f_CLR needs negatives: set contrastive_batch to at least 2, or to 0")
        if self.adversarial is not None and not self.classification_batch:
            raise ValueError("the virtual adversarial loss is part of f_Res; set classification_batch")
        if self.mask_supervision and not self.classification_batch:
            raise ValueError("masks supervise the encoder in f_Res; set classification_batch")
        if self.mask_supervision and self.adversarial is not None:
            raise ValueError("f_Res takes mask_supervision or adversarial, not both; remove one")
        if self.frozen_blocks and self.averaging is None:
            raise ValueError(
                "frozen blocks keep their batch norm, which is settled anew after each epoch unless weights "
                "are averaged; set averaging"
            )
        return self
