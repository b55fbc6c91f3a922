# Each experiment of the paper by name, so that one of them can be had alone, and the report of all.

for name in plan.tables():

    rule:
        name:
            name
        input:
            plan.table_files(name),


for name in [one for one in plan.figures() if one != "ablations"]:

    rule:
        name:
            name
        input:
            plan.figure_files(name),


rule ablations:
    input:
        plan.ablation_files(),
        plan.figure_files("ablations") if plan.ablation_files() else [],


rule tables:
    input:
        [file for name in plan.tables() for file in plan.table_files(name)],


rule figures:
    input:
        [file for name in plan.figures() for file in plan.figure_files(name)],


rule flops:
    input:
        plan.all_flops(),
