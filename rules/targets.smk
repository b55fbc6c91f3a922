# Each experiment of the paper by name, so that one of them can be made alone, and groups of them.

for name, names in plan.members().items():

    rule:
        name:
            name
        input:
            plan.products(names),


rule flops:
    input:
        plan.all_flops(),
