"""The parts of the config as typed sections: a field's default and the text under it are its documentation."""
