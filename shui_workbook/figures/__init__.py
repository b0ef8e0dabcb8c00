"""Figures: every plot takes data and an axes, and returns the axes."""

from shui_workbook.figures.analyses import plot_by_distance, plot_doses, plot_fifths, plot_influence, plot_trends
from shui_workbook.figures.attack import (
    plot_identity_scores,
    plot_laboratory,
    plot_ratios,
    plot_rmia_scores,
    plot_roc,
    plot_rocs,
)
from shui_workbook.figures.explorer import (
    plot_answers,
    plot_explorer,
    plot_moves,
    plot_paths,
    plot_people,
    plot_photo,
    quarters,
)
from shui_workbook.figures.handle import plot_gain_by_handle, plot_handles
from shui_workbook.figures.photos import (
    plot_faces,
    plot_images_per_identity,
    plot_recognition,
    plot_request,
    thumbnails,
)
from shui_workbook.figures.pipeline import plot_pipeline
from shui_workbook.figures.reported import plot_reported
from shui_workbook.figures.scores import (
    plot_bargain,
    plot_differences,
    plot_gaps,
    plot_identity_losses,
    plot_klom,
    plot_scores,
    plot_tradeoff,
    plot_trials,
)
from shui_workbook.figures.sequential import STRATEGIES, plot_sequences
from shui_workbook.figures.style import METHODS, PARTS, SCORE_NAMES, STYLE, canvas, look, use_style
from shui_workbook.figures.tradeoff import plot_split, plot_tradeoff_curves, plot_valley, plot_where_the_step_goes
from shui_workbook.figures.training import (
    plot_alignment,
    plot_by_row,
    plot_loss_inputs,
    plot_losses,
    plot_objective,
    plot_push,
    plot_validation,
)
from shui_workbook.figures.weights import plot_by_layer, plot_importance_ratio, plot_weight_changes
