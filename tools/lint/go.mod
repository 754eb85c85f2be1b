module navarch.dev/navarch/tools/lint

go 1.26.0
