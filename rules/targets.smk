# Each experiment of the paper by name, so that one of them can be made alone, and groups of them.

for name, names in targets.members(plan).items():

    rule:
        name:
            name
        input:
            targets.products(plan, names),


rule flops:
    input:
        targets.all_flops(plan),
