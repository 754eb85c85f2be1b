// Package simulation runs a whole control plane in virtual time: a Store on an
// in-memory backend, the Controller service with every controller, the
// Scheduler, nodes that come and go, and users who never rest. Days pass in
// seconds.
//
// Everything that is written is looked at in the order in which it was written,
// and after each write the promises of the controllers must hold:
//
//   - a rolling Deployment asks for no more than replicas and maxSurge, and gives
//     up no available pod that maxUnavailable does not let it;
//   - a Deployment that recreates never runs two versions;
//   - a ReplicaSet has no more pods than it asks for;
//   - a StatefulSet makes a pod only when those before it are ready;
//   - a Job runs no more pods than its parallelism, makes none that it does not
//     need, and says of itself exactly what its pods did;
//   - a CronJob that forbids it has no two Jobs at once;
//   - no write makes more of anything than a ResourceQuota allows: pods, what they
//     request, objects by kind, claims and storage by class, within scopes;
//   - an autoscaler keeps its workload within its limits, scales it no faster than
//     its policies say, and not to and fro within its stabilization windows;
//   - an eviction leaves what the disruption budget wants;
//   - a pod is bound once, to a node with room for it and where its volumes are;
//   - a claim keeps its volume and a volume its claim, no claim has two volumes and
//     no volume two claims, and a claim for one pod is one pod's;
//   - no claim is removed under a pod that uses it, and no volume under its claim;
//   - claims and volumes go only if a user, a retention policy or a reclaim policy
//     says so;
//   - nothing has two controllers, and nothing is made for an owner that is gone.
//
// When the users rest, everything becomes what they asked for, nothing is left of
// what they deleted, quotas have counted right, and autoscalers follow the load.
//
// The services see the Store late, each watch and each call by a time of its
// own, and are killed now and then. The package has tests only.
package simulation
