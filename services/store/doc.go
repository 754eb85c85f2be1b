// Package store is the Store: the service that holds the cluster's state and
// the only one that talks to etcd.
//
// A request passes these layers, each a package or a few files here:
//
//	RPC handlers   one file per RPC: authorize, call, encode (this package)
//	codec          bodies, selectors and page tokens, as clients send them
//	registry       the write pipeline: metadata, strategy, admission, validation
//	admission      rules that look beyond the written object
//	cache          what is stored, in memory; every read and watch is served here
//	backend        the ordered, revisioned key-value store: etcd, or memory
//
// Package access says what the Store asks about its callers; auth answers.
package store
