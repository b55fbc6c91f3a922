# Each experiment of the paper by name, so that one of them can be made alone, and groups of them.

for name, files in plan.targets().items():

    rule:
        name:
            name
        input:
            files,
