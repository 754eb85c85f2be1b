package controller

import (
	"navarch.dev/navarch/services/controller/deployment"
	"navarch.dev/navarch/services/controller/replicaset"
	"navarch.dev/navarch/services/controller/runner"
)

// factory makes one controller.
type factory struct {
	name string
	make func(runner.Deps) (*runner.Controller, error)
}

// controllers lists every controller that the configuration asks for.
func controllers(cfg *Config) []factory {
	return []factory{
		{"deployment", deployment.New},
		{"replicaset", replicaset.New},
		{"replicationcontroller", replicaset.NewReplicationController},
	}
}
