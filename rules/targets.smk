# Each experiment of the paper by name, so that one of them can be had alone, and the report of all.

for name in plan.tables():

    rule:
        name:
            name
        input:
            plan.products([name]),


for name in [one for one in plan.figures() if one != "ablations"]:

    rule:
        name:
            name
        input:
            plan.products([name]),


rule ablations:
    input:
        plan.products([name for name in plan.figures() if name == "ablations"]),


rule tables:
    input:
        plan.products(plan.tables()),


rule figures:
    input:
        plan.products(plan.figures()),


rule flops:
    input:
        plan.all_flops(),
