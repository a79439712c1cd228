-- What a maker with schema 0001 (commit 2b145a9) left after five runs of the Towers of Hanoi, as `sqlite3 .dump` says it:
-- done; paused with --limit-steps; stuck at max_votes; paused with all samples kept; killed with kill -9 under a limit.
BEGIN TRANSACTION;
CREATE TABLE maker_chain (
	id INTEGER NOT NULL, 
	run INTEGER NOT NULL, 
	parent INTEGER, 
	number BIGINT NOT NULL, 
	cursor BIGINT NOT NULL, 
	epoch INTEGER NOT NULL, 
	digest BLOB NOT NULL, 
	status TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (run, parent, number), 
	FOREIGN KEY(run) REFERENCES maker_run (id), 
	FOREIGN KEY(parent) REFERENCES maker_chain (id)
);
INSERT INTO "maker_chain" VALUES(1,1,NULL,0,15,0,X'D3B6320521CDE32BFE615340DF4A7073','done','');
INSERT INTO "maker_chain" VALUES(2,2,NULL,0,9,0,X'B07DA3BFC0986413D0FD83588640A447','paused','as asked, before step 9');
INSERT INTO "maker_chain" VALUES(3,3,NULL,0,0,0,X'1C38061E2ADD3E21235F60615F8BE8BF','paused','step 0 (move) is undecided: max_votes = 12: 5 for 1AC, 5 for 1AB; flagged: 2 length; 4 more would be the least');
INSERT INTO "maker_chain" VALUES(4,4,NULL,0,4,0,X'355341A02819F551F0CFC9924635CEF3','paused','as asked, before step 4');
INSERT INTO "maker_chain" VALUES(5,5,NULL,0,2,0,X'38A22F6A9C34D7C4A5CE54CA05DFAD17','running','');
CREATE TABLE maker_grant (
	id INTEGER NOT NULL, 
	run INTEGER NOT NULL, 
	calls BIGINT NOT NULL, 
	tokens BIGINT NOT NULL, 
	cost FLOAT NOT NULL, 
	settled BOOLEAN NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(run) REFERENCES maker_run (id)
);
INSERT INTO "maker_grant" VALUES(1,5,12,-58,0.0,0);
CREATE TABLE maker_ledger (
	run INTEGER NOT NULL, 
	model TEXT NOT NULL, 
	role TEXT NOT NULL, 
	calls BIGINT NOT NULL, 
	requests BIGINT NOT NULL, 
	prompt_tokens BIGINT NOT NULL, 
	completion_tokens BIGINT NOT NULL, 
	PRIMARY KEY (run, model, role), 
	FOREIGN KEY(run) REFERENCES maker_run (id)
);
INSERT INTO "maker_ledger" VALUES(1,'simulated','vote',55,20,196,228);
INSERT INTO "maker_ledger" VALUES(2,'simulated','vote',37,14,136,156);
INSERT INTO "maker_ledger" VALUES(3,'simulated','vote',12,3,24,56);
INSERT INTO "maker_ledger" VALUES(4,'simulated','vote',13,5,41,56);
INSERT INTO "maker_ledger" VALUES(5,'simulated','vote',8,3,26,32);
CREATE TABLE maker_run (
	id INTEGER NOT NULL, 
	run_id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	status TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	created_at FLOAT NOT NULL, 
	updated_at FLOAT NOT NULL, 
	settings TEXT NOT NULL, 
	fingerprint TEXT NOT NULL, 
	classes TEXT NOT NULL, 
	result TEXT, 
	steps BIGINT NOT NULL, 
	votes BIGINT NOT NULL, 
	red_flags BIGINT NOT NULL, 
	disputed BIGINT NOT NULL, 
	digest BLOB NOT NULL, 
	wall_s FLOAT NOT NULL, 
	resumes INTEGER NOT NULL, 
	fence BIGINT NOT NULL, 
	holder TEXT NOT NULL, 
	lease_until FLOAT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (run_id)
);
INSERT INTO "maker_run" VALUES(1,'20261121-233739-e08813','done','done','',1.79530425938997912401e+09,1.79530425947952365878e+09,'{"limits": {"max_calls": null, "max_cost": null, "max_tokens": null, "max_wall_s": null}, "model": {"common": 0.0, "kind": "simulated", "latency_s": 0.0, "malformed": 0.05, "p": 0.9, "rivals": 1}, "run": {"name": "done", "on_change": "refuse", "seed": 0}, "store": {"durability": "group", "samples": "disputed"}, "swarm": {"cpus": 1.0, "gpus": null, "kind": null, "replicas": 1}, "task": {"answer": "move", "decomposer": "hanoi", "disks": 4, "form": "chain", "prompt": "compact"}, "vote": {"k": 3, "max_votes": 100, "voter": "first-to-ahead-by-k"}}','{"decomposer": "hanoi", "decomposer_source": "", "decomposer_version": 1, "model": {"common": 0.0, "kind": "simulated", "malformed": 0.05, "p": 0.9, "rivals": 1}, "prompts": "99f6c03ff7d64ecf", "seed": 0, "task": {"answer": "move", "disks": 4, "form": "chain", "prompt": "compact"}, "vote": {"k": 3}, "voter": "first-to-ahead-by-k", "voter_source": ""}','["move"]','{"moves": 15, "pegs": "CCCC"}',15,53,2,3,X'D3B6320521CDE32BFE615340DF4A7073',5.01099560005968669429e-02,0,1,'',0.0);
INSERT INTO "maker_run" VALUES(2,'20261121-233739-8f548d','paused','paused','as asked, before step 9',1.79530425961018967628e+09,1.7953042597013769149e+09,'{"limits": {"max_calls": null, "max_cost": null, "max_tokens": null, "max_wall_s": null}, "model": {"common": 0.0, "kind": "simulated", "latency_s": 0.0, "malformed": 0.05, "p": 0.9, "rivals": 1}, "run": {"name": "paused", "on_change": "refuse", "seed": 0}, "store": {"durability": "group", "samples": "disputed"}, "swarm": {"cpus": 1.0, "gpus": null, "kind": null, "replicas": 1}, "task": {"answer": "move", "decomposer": "hanoi", "disks": 4, "form": "chain", "prompt": "compact"}, "vote": {"k": 3, "max_votes": 100, "voter": "first-to-ahead-by-k"}}','{"decomposer": "hanoi", "decomposer_source": "", "decomposer_version": 1, "model": {"common": 0.0, "kind": "simulated", "malformed": 0.05, "p": 0.9, "rivals": 1}, "prompts": "99f6c03ff7d64ecf", "seed": 0, "task": {"answer": "move", "disks": 4, "form": "chain", "prompt": "compact"}, "vote": {"k": 3}, "voter": "first-to-ahead-by-k", "voter_source": ""}','["move"]',NULL,9,35,2,3,X'B07DA3BFC0986413D0FD83588640A447',2.73347940001258393749e-02,0,1,'',0.0);
INSERT INTO "maker_run" VALUES(3,'20261121-233739-1d80ca','stuck','paused','step 0 (move) is undecided: max_votes = 12: 5 for 1AC, 5 for 1AB; flagged: 2 length; 4 more would be the least',1.79530425991829562185e+09,1.79530425999632263188e+09,'{"limits": {"max_calls": null, "max_cost": null, "max_tokens": null, "max_wall_s": null}, "model": {"common": 0.0, "kind": "simulated", "latency_s": 0.0, "malformed": 0.05, "p": 0.7, "rivals": 1}, "run": {"name": "stuck", "on_change": "refuse", "seed": 0}, "store": {"durability": "group", "samples": "disputed"}, "swarm": {"cpus": 1.0, "gpus": null, "kind": null, "replicas": 1}, "task": {"answer": "move", "decomposer": "hanoi", "disks": 4, "form": "chain", "prompt": "compact"}, "vote": {"k": 4, "max_votes": 12, "voter": "first-to-ahead-by-k"}}','{"decomposer": "hanoi", "decomposer_source": "", "decomposer_version": 1, "model": {"common": 0.0, "kind": "simulated", "malformed": 0.05, "p": 0.7, "rivals": 1}, "prompts": "99f6c03ff7d64ecf", "seed": 0, "task": {"answer": "move", "disks": 4, "form": "chain", "prompt": "compact"}, "vote": {"k": 4}, "voter": "first-to-ahead-by-k", "voter_source": ""}','["move"]',NULL,0,0,0,0,X'1C38061E2ADD3E21235F60615F8BE8BF',1.73599660010950174182e-02,0,1,'',0.0);
INSERT INTO "maker_run" VALUES(4,'20261121-233740-bf44bc','all','paused','as asked, before step 4',1.79530426015075302123e+09,1795304260.24333,'{"limits": {"max_calls": null, "max_cost": null, "max_tokens": null, "max_wall_s": null}, "model": {"common": 0.0, "kind": "simulated", "latency_s": 0.0, "malformed": 0.05, "p": 0.9, "rivals": 1}, "run": {"name": "all", "on_change": "refuse", "seed": 0}, "store": {"durability": "group", "samples": "all"}, "swarm": {"cpus": 1.0, "gpus": null, "kind": null, "replicas": 1}, "task": {"answer": "move", "decomposer": "hanoi", "disks": 3, "form": "chain", "prompt": "compact"}, "vote": {"k": 3, "max_votes": 100, "voter": "first-to-ahead-by-k"}}','{"decomposer": "hanoi", "decomposer_source": "", "decomposer_version": 1, "model": {"common": 0.0, "kind": "simulated", "malformed": 0.05, "p": 0.9, "rivals": 1}, "prompts": "c971ba1c018fefca", "seed": 0, "task": {"answer": "move", "disks": 3, "form": "chain", "prompt": "compact"}, "vote": {"k": 3}, "voter": "first-to-ahead-by-k", "voter_source": ""}','["move"]',NULL,4,12,1,0,X'355341A02819F551F0CFC9924635CEF3',3.76257859988982090726e-02,0,1,'',0.0);
INSERT INTO "maker_run" VALUES(5,'20261121-233743-0fa96a','killed','running','',1.79530426314342474941e+09,1.79530426336942505833e+09,'{"limits": {"max_calls": 400, "max_cost": null, "max_tokens": null, "max_wall_s": null}, "model": {"common": 0.0, "kind": "simulated", "latency_s": 0.03, "malformed": 0.05, "p": 0.9, "rivals": 1}, "run": {"name": "killed", "on_change": "refuse", "seed": 0}, "store": {"durability": "group", "samples": "disputed"}, "swarm": {"cpus": 1.0, "gpus": null, "kind": null, "replicas": 1}, "task": {"answer": "move", "decomposer": "hanoi", "disks": 4, "form": "chain", "prompt": "compact"}, "vote": {"k": 3, "max_votes": 100, "voter": "first-to-ahead-by-k"}}','{"decomposer": "hanoi", "decomposer_source": "", "decomposer_version": 1, "model": {"common": 0.0, "kind": "simulated", "malformed": 0.05, "p": 0.9, "rivals": 1}, "prompts": "99f6c03ff7d64ecf", "seed": 0, "task": {"answer": "move", "disks": 4, "form": "chain", "prompt": "compact"}, "vote": {"k": 3}, "voter": "first-to-ahead-by-k", "voter_source": ""}','["move"]',NULL,2,8,0,1,X'38A22F6A9C34D7C4A5CE54CA05DFAD17',2.0697403299891448114e-01,0,1,'elsewhere pid:[4026531836] 4242 1529473',1.79530427836942505837e+09);
CREATE TABLE maker_sample (
	chain BIGINT NOT NULL, 
	idx BIGINT NOT NULL, 
	epoch INTEGER NOT NULL, 
	vote INTEGER NOT NULL, 
	text TEXT NOT NULL, 
	tokens INTEGER NOT NULL, 
	candidate TEXT, 
	flag TEXT, 
	detail TEXT NOT NULL, 
	PRIMARY KEY (chain, idx, epoch, vote)
)
 WITHOUT ROWID

;
INSERT INTO "maker_sample" VALUES(1,0,0,0,'1AC',4,'1AC',NULL,'');
INSERT INTO "maker_sample" VALUES(1,0,0,1,'1AB',4,'1AB',NULL,'');
INSERT INTO "maker_sample" VALUES(1,0,0,2,'1AB',4,'1AB',NULL,'');
INSERT INTO "maker_sample" VALUES(1,0,0,3,'1AB',4,'1AB',NULL,'');
INSERT INTO "maker_sample" VALUES(1,0,0,4,'1AB',4,'1AB',NULL,'');
INSERT INTO "maker_sample" VALUES(1,2,0,0,'1BA',4,'1BA',NULL,'');
INSERT INTO "maker_sample" VALUES(1,2,0,1,'1BA',4,'1BA',NULL,'');
INSERT INTO "maker_sample" VALUES(1,2,0,2,'1BC',4,'1BC',NULL,'');
INSERT INTO "maker_sample" VALUES(1,2,0,3,'1BC',4,'1BC',NULL,'');
INSERT INTO "maker_sample" VALUES(1,2,0,4,'1BC',4,'1BC',NULL,'');
INSERT INTO "maker_sample" VALUES(1,2,0,5,'1BC',4,'1BC',NULL,'');
INSERT INTO "maker_sample" VALUES(1,2,0,6,'1BC',4,'1BC',NULL,'');
INSERT INTO "maker_sample" VALUES(1,4,0,0,'1CA',4,'1CA',NULL,'');
INSERT INTO "maker_sample" VALUES(1,4,0,1,'1CA',4,'1CA',NULL,'');
INSERT INTO "maker_sample" VALUES(1,4,0,2,'I am not',8,NULL,'length','cut after 8 tokens');
INSERT INTO "maker_sample" VALUES(1,4,0,3,'1CA',4,'1CA',NULL,'');
INSERT INTO "maker_sample" VALUES(1,7,0,0,'1BA',4,'1BA',NULL,'');
INSERT INTO "maker_sample" VALUES(1,7,0,1,'I am not',8,NULL,'length','cut after 8 tokens');
INSERT INTO "maker_sample" VALUES(1,7,0,2,'4AC',4,'4AC',NULL,'');
INSERT INTO "maker_sample" VALUES(1,7,0,3,'4AC',4,'4AC',NULL,'');
INSERT INTO "maker_sample" VALUES(1,7,0,4,'4AC',4,'4AC',NULL,'');
INSERT INTO "maker_sample" VALUES(1,7,0,5,'4AC',4,'4AC',NULL,'');
INSERT INTO "maker_sample" VALUES(2,0,0,0,'1AC',4,'1AC',NULL,'');
INSERT INTO "maker_sample" VALUES(2,0,0,1,'1AB',4,'1AB',NULL,'');
INSERT INTO "maker_sample" VALUES(2,0,0,2,'1AB',4,'1AB',NULL,'');
INSERT INTO "maker_sample" VALUES(2,0,0,3,'1AB',4,'1AB',NULL,'');
INSERT INTO "maker_sample" VALUES(2,0,0,4,'1AB',4,'1AB',NULL,'');
INSERT INTO "maker_sample" VALUES(2,2,0,0,'1BA',4,'1BA',NULL,'');
INSERT INTO "maker_sample" VALUES(2,2,0,1,'1BA',4,'1BA',NULL,'');
INSERT INTO "maker_sample" VALUES(2,2,0,2,'1BC',4,'1BC',NULL,'');
INSERT INTO "maker_sample" VALUES(2,2,0,3,'1BC',4,'1BC',NULL,'');
INSERT INTO "maker_sample" VALUES(2,2,0,4,'1BC',4,'1BC',NULL,'');
INSERT INTO "maker_sample" VALUES(2,2,0,5,'1BC',4,'1BC',NULL,'');
INSERT INTO "maker_sample" VALUES(2,2,0,6,'1BC',4,'1BC',NULL,'');
INSERT INTO "maker_sample" VALUES(2,4,0,0,'1CA',4,'1CA',NULL,'');
INSERT INTO "maker_sample" VALUES(2,4,0,1,'1CA',4,'1CA',NULL,'');
INSERT INTO "maker_sample" VALUES(2,4,0,2,'I am not',8,NULL,'length','cut after 8 tokens');
INSERT INTO "maker_sample" VALUES(2,4,0,3,'1CA',4,'1CA',NULL,'');
INSERT INTO "maker_sample" VALUES(2,7,0,0,'1BA',4,'1BA',NULL,'');
INSERT INTO "maker_sample" VALUES(2,7,0,1,'I am not',8,NULL,'length','cut after 8 tokens');
INSERT INTO "maker_sample" VALUES(2,7,0,2,'4AC',4,'4AC',NULL,'');
INSERT INTO "maker_sample" VALUES(2,7,0,3,'4AC',4,'4AC',NULL,'');
INSERT INTO "maker_sample" VALUES(2,7,0,4,'4AC',4,'4AC',NULL,'');
INSERT INTO "maker_sample" VALUES(2,7,0,5,'4AC',4,'4AC',NULL,'');
INSERT INTO "maker_sample" VALUES(3,0,0,0,'1AC',4,'1AC',NULL,'');
INSERT INTO "maker_sample" VALUES(3,0,0,1,'1AB',4,'1AB',NULL,'');
INSERT INTO "maker_sample" VALUES(3,0,0,2,'1AC',4,'1AC',NULL,'');
INSERT INTO "maker_sample" VALUES(3,0,0,3,'1AB',4,'1AB',NULL,'');
INSERT INTO "maker_sample" VALUES(3,0,0,4,'1AB',4,'1AB',NULL,'');
INSERT INTO "maker_sample" VALUES(3,0,0,5,'1AB',4,'1AB',NULL,'');
INSERT INTO "maker_sample" VALUES(3,0,0,6,'1AC',4,'1AC',NULL,'');
INSERT INTO "maker_sample" VALUES(3,0,0,7,'1AC',4,'1AC',NULL,'');
INSERT INTO "maker_sample" VALUES(3,0,0,8,'I am not',8,NULL,'length','cut after 8 tokens');
INSERT INTO "maker_sample" VALUES(3,0,0,9,'1AB',4,'1AB',NULL,'');
INSERT INTO "maker_sample" VALUES(3,0,0,10,'1AC',4,'1AC',NULL,'');
INSERT INTO "maker_sample" VALUES(3,0,0,11,'I am not',8,NULL,'length','cut after 8 tokens');
INSERT INTO "maker_sample" VALUES(4,0,0,0,'1AC',4,'1AC',NULL,'');
INSERT INTO "maker_sample" VALUES(4,0,0,1,'I am not',8,NULL,'length','cut after 8 tokens');
INSERT INTO "maker_sample" VALUES(4,0,0,2,'1AC',4,'1AC',NULL,'');
INSERT INTO "maker_sample" VALUES(4,0,0,3,'1AC',4,'1AC',NULL,'');
INSERT INTO "maker_sample" VALUES(4,1,0,0,'2AB',4,'2AB',NULL,'');
INSERT INTO "maker_sample" VALUES(4,1,0,1,'2AB',4,'2AB',NULL,'');
INSERT INTO "maker_sample" VALUES(4,1,0,2,'2AB',4,'2AB',NULL,'');
INSERT INTO "maker_sample" VALUES(4,2,0,0,'1CB',4,'1CB',NULL,'');
INSERT INTO "maker_sample" VALUES(4,2,0,1,'1CB',4,'1CB',NULL,'');
INSERT INTO "maker_sample" VALUES(4,2,0,2,'1CB',4,'1CB',NULL,'');
INSERT INTO "maker_sample" VALUES(4,3,0,0,'3AC',4,'3AC',NULL,'');
INSERT INTO "maker_sample" VALUES(4,3,0,1,'3AC',4,'3AC',NULL,'');
INSERT INTO "maker_sample" VALUES(4,3,0,2,'3AC',4,'3AC',NULL,'');
INSERT INTO "maker_sample" VALUES(5,0,0,0,'1AC',4,'1AC',NULL,'');
INSERT INTO "maker_sample" VALUES(5,0,0,1,'1AB',4,'1AB',NULL,'');
INSERT INTO "maker_sample" VALUES(5,0,0,2,'1AB',4,'1AB',NULL,'');
INSERT INTO "maker_sample" VALUES(5,0,0,3,'1AB',4,'1AB',NULL,'');
INSERT INTO "maker_sample" VALUES(5,0,0,4,'1AB',4,'1AB',NULL,'');
CREATE TABLE maker_schema_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT maker_schema_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "maker_schema_version" VALUES('0001');
CREATE TABLE maker_snapshot (
	chain BIGINT NOT NULL, 
	idx BIGINT NOT NULL, 
	epoch INTEGER NOT NULL, 
	state TEXT NOT NULL, 
	PRIMARY KEY (chain, idx, epoch)
)
 WITHOUT ROWID

;
INSERT INTO "maker_snapshot" VALUES(1,0,0,'AAAA 0 0');
INSERT INTO "maker_snapshot" VALUES(2,0,0,'AAAA 0 0');
INSERT INTO "maker_snapshot" VALUES(3,0,0,'AAAA 0 0');
INSERT INTO "maker_snapshot" VALUES(4,0,0,'AAA 0 0');
INSERT INTO "maker_snapshot" VALUES(5,0,0,'AAAA 0 0');
CREATE TABLE maker_step (
	chain BIGINT NOT NULL, 
	idx BIGINT NOT NULL, 
	epoch INTEGER NOT NULL, 
	action TEXT NOT NULL, 
	tally BLOB NOT NULL, 
	tokens INTEGER NOT NULL, 
	digest BLOB NOT NULL, 
	PRIMARY KEY (chain, idx, epoch)
)
 WITHOUT ROWID

;
INSERT INTO "maker_step" VALUES(1,0,0,'1AB',X'0002010401033141430100',36,X'5F51CBC28ECC466B55DB62CDE322D280');
INSERT INTO "maker_step" VALUES(1,1,0,'2AC',X'000101030000',22,X'38A22F6A9C34D7C4A5CE54CA05DFAD17');
INSERT INTO "maker_step" VALUES(1,2,0,'1BC',X'0003010501033142410200',58,X'772DE64CAF75FCC94D2C708F1E2127DA');
INSERT INTO "maker_step" VALUES(1,3,0,'3AB',X'000101030000',22,X'14AA4384750169781477FB078439E5B8');
INSERT INTO "maker_step" VALUES(1,4,0,'1CA',X'0002010300010001',40,X'FAC1AB196B48C401989C0AEDBD399722');
INSERT INTO "maker_step" VALUES(1,5,0,'2CB',X'000101030000',22,X'44F54C29E22A83F6BA08ADC459478A34');
INSERT INTO "maker_step" VALUES(1,6,0,'1AB',X'000101030000',22,X'751C9B88B13DF9E33B62DD1AB5B633D1');
INSERT INTO "maker_step" VALUES(1,7,0,'4AC',X'00020104010331424101010001',48,X'55058C006EEE2C39A9B287618BAA10DA');
INSERT INTO "maker_step" VALUES(1,8,0,'1BC',X'000101030000',22,X'B07DA3BFC0986413D0FD83588640A447');
INSERT INTO "maker_step" VALUES(1,9,0,'2BA',X'000101030000',22,X'D8A32884FD432DF27AD49E51D10C58A9');
INSERT INTO "maker_step" VALUES(1,10,0,'1CA',X'000101030000',22,X'0A03CE7358A56B13780AA44C1F4879F0');
INSERT INTO "maker_step" VALUES(1,11,0,'3BC',X'000101030000',22,X'C1556DB78A5EDBF6E9BABDD6D9A9DCDF');
INSERT INTO "maker_step" VALUES(1,12,0,'1AB',X'000101030000',22,X'167AD133F66FB2FBD1E4F5691CFCF768');
INSERT INTO "maker_step" VALUES(1,13,0,'2AC',X'000101030000',22,X'7AF682A7CC81403C768DDF6E345640B1');
INSERT INTO "maker_step" VALUES(1,14,0,'1BC',X'000101030000',22,X'D3B6320521CDE32BFE615340DF4A7073');
INSERT INTO "maker_step" VALUES(2,0,0,'1AB',X'0002010401033141430100',36,X'5F51CBC28ECC466B55DB62CDE322D280');
INSERT INTO "maker_step" VALUES(2,1,0,'2AC',X'000101030000',22,X'38A22F6A9C34D7C4A5CE54CA05DFAD17');
INSERT INTO "maker_step" VALUES(2,2,0,'1BC',X'0003010501033142410200',58,X'772DE64CAF75FCC94D2C708F1E2127DA');
INSERT INTO "maker_step" VALUES(2,3,0,'3AB',X'000101030000',22,X'14AA4384750169781477FB078439E5B8');
INSERT INTO "maker_step" VALUES(2,4,0,'1CA',X'0002010300010001',40,X'FAC1AB196B48C401989C0AEDBD399722');
INSERT INTO "maker_step" VALUES(2,5,0,'2CB',X'000101030000',22,X'44F54C29E22A83F6BA08ADC459478A34');
INSERT INTO "maker_step" VALUES(2,6,0,'1AB',X'000101030000',22,X'751C9B88B13DF9E33B62DD1AB5B633D1');
INSERT INTO "maker_step" VALUES(2,7,0,'4AC',X'00020104010331424101010001',48,X'55058C006EEE2C39A9B287618BAA10DA');
INSERT INTO "maker_step" VALUES(2,8,0,'1BC',X'000101030000',22,X'B07DA3BFC0986413D0FD83588640A447');
INSERT INTO "maker_step" VALUES(4,0,0,'1AC',X'0002010300010001',34,X'C76F183C5FB29F44E82550A47550596B');
INSERT INTO "maker_step" VALUES(4,1,0,'2AB',X'000101030000',21,X'31C5E4D0AF13F212D040E1C67D362054');
INSERT INTO "maker_step" VALUES(4,2,0,'1CB',X'000101030000',21,X'3E6CAE039C0C92AF2C4D44396B95F30A');
INSERT INTO "maker_step" VALUES(4,3,0,'3AC',X'000101030000',21,X'355341A02819F551F0CFC9924635CEF3');
INSERT INTO "maker_step" VALUES(5,0,0,'1AB',X'0002010401033141430100',36,X'5F51CBC28ECC466B55DB62CDE322D280');
INSERT INTO "maker_step" VALUES(5,1,0,'2AC',X'000101030000',22,X'38A22F6A9C34D7C4A5CE54CA05DFAD17');
COMMIT;
