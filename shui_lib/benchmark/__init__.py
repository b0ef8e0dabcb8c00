"""1-SHUI itself: presets, prepared data, splits and requests, models, training, predictions and their scores.

From here on data flows one way: data, split, request, model, logits, score.
"""

from shui_lib.benchmark.data import Faces, load_faces
from shui_lib.benchmark.metrics import Scores, score, score_by_class, score_name, tug_of_war
from shui_lib.benchmark.models import FaceModel, build_model
from shui_lib.benchmark.predict import probability_of_truth, query_losses, task_loss
from shui_lib.benchmark.presets import preset_named
from shui_lib.benchmark.splits import draw_request, split_identities
from shui_lib.benchmark.train import fit
