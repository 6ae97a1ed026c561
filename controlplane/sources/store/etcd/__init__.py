"""etcd's v3 API over grpc.aio (protos/etcd/rpc.proto), and the store on top of it."""
