"""What methods are built from: learned loss, meta-gradient, objectives, curvature, subspaces, distillation, and more.

A part belongs here when two methods use it, or when it is an idea that a chapter teaches by itself.
"""
