module navarch.dev/navarch/tools/node

go 1.26.0
