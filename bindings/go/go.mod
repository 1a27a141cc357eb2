module trajgan

go 1.17
