"""Loss functions of the trainings."""
