"""The face model: expression basis and neutral operator."""
