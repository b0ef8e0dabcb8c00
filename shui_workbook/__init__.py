"""What chapters and commands are made of; the library, `shui_lib`, does not need it."""
