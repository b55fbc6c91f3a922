"""What a schedule costs: FLOPs by formula under several conventions, and the paper's figures that no formula gives."""
