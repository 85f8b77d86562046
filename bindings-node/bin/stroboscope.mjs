#!/usr/bin/env node
import { main } from '../js/run.mjs';

process.exitCode = main(process.argv.slice(2));
