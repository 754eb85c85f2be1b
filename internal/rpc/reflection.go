package rpc

import (
	"google.golang.org/grpc/reflection"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionv1alpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
)

// registerReflection serves both versions of the reflection protocol: tools in
// use speak either. Whoever has a certificate of the cluster may ask: the answer
// is the contracts, which are public, and never data.
func registerReflection(s *Server, opts reflection.ServerOptions) {
	reflectionv1.RegisterServerReflectionServer(s.grpc, reflection.NewServerV1(opts))
	reflectionv1alpha.RegisterServerReflectionServer(s.grpc, reflection.NewServer(opts))
}
