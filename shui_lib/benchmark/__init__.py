"""1-SHUI itself: presets, prepared data, splits and requests, models, training, predictions and their scores.

From here on data flows one way: data, split, request, model, logits, score.
"""
